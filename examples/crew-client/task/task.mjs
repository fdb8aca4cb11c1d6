export default ({ amount }) => ({ total: amount + 2 });
