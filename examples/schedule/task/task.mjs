export default ({ report }) => `${report} written`;
