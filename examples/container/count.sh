# $PEERWORK_INPUT is the file with the job's data; result.json becomes the output.
words=$(tr -d '"{}:' < "$PEERWORK_INPUT" | sed 's/^text//' | wc -w)
echo "counted $words words" >&2
echo "{\"words\": $words}" > "$PEERWORK_OUT/result.json"
