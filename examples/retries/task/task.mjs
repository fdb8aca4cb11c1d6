export default ({ failures = 0, unrecoverable = false }, { attempt }) => {
  if (unrecoverable) throw Object.assign(new Error('the account is closed'), { unrecoverable });
  if (attempt <= failures) throw new Error(`attempt ${attempt} failed`);
  return `attempt ${attempt} worked`;
};
