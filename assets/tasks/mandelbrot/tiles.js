/** How a picture is cut into jobs. Used by whoever makes the jobs; the task gets one tile at a time. */

/** The part of the complex plane that is shown: its centre, and how much of it the width of the picture covers. */
export const seahorses = { re: -0.7436, im: 0.1318, span: 0.0125, limit: 1_500 };

/** The `data` of each job. The last tiles of a row or column may be smaller. */
export function tileJobs({ width = 1_200, height = 800, tile = 200, view = seahorses } = {}) {
  const jobs = [];
  for (let y = 0; y < height; y += tile) {
    for (let x = 0; x < width; x += tile) {
      jobs.push({ x, y, width: Math.min(tile, width - x), height: Math.min(tile, height - y), picture: { width, height }, view });
    }
  }
  return jobs;
}
