# The job's data is in $PEERWORK_INPUT; what is written to result.json is the result.
words=$(tr -d '"{}:' < "$PEERWORK_INPUT" | sed 's/^text//' | wc -w)
echo "counted $words words" >&2
echo "{\"words\": $words}" > "$PEERWORK_OUT/result.json"
