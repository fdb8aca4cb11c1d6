export default ({ n }, { hold }) => {
  // Simulates a service that responds "429, Retry-After: 0.1": no other job of the workgroup starts for 100 ms.
  if (n === 5) hold(100);
  return n;
};
