/** Exit code of a process that was killed by SIGKILL, as shells, engines and bubblewrap report it: 128 + the number of the signal. */
export const EXIT_KILLED = 128 + 9;
/** Exit code of `docker run` itself if no container was started. */
export const EXIT_NOT_STARTED = 125;
