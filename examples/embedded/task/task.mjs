export default async ({ n }, context) => {
  context.progress(0.5);
  context.log(`doubling ${n}`);
  return { twice: n * 2 };
};
