// The class form, as queue-xec users know it: made once in each process, `run` called for every job.
module.exports = class Task {
  async run(job) {
    return { text: `Hello, ${job.data.name}!`, from: job.id };
  }
};
