export default ({ text, word }, { spawn, parents }) => {
  if (text !== undefined) {
    const words = text.split(' ');
    spawn(words.map((word, at) => ({ ref: `word-${at}`, data: { word } })));
    spawn({ id: 'sum', parents: words.map((_, at) => `word-${at}`), data: {} });
    return words.length;
  }
  if (word !== undefined) return word.length;
  return parents.reduce((sum, { output }) => sum + output, 0);
};
