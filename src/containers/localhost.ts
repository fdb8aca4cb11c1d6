const LOOPBACK = /^(?:localhost|.*\.localhost|127(?:\.\d{1,3}){3}|\[::1\]|0\.0\.0\.0)$/i;

/**
 * An address as a container has to write it: what is this machine's own loopback becomes `host`, such as `host.docker.internal`; the rest of
 * the URL stays letter for letter. Everything else, and what is no URL, is given back as it is.
 */
export function rewriteLocalhost(url: string, host: string): string {
  if (!URL.canParse(url)) return url;
  const { hostname } = new URL(url);
  if (!LOOPBACK.test(hostname)) return url;
  // Not through URL: it would add slashes and escape passwords anew.
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/(?:[^/?#]*@)?)(\[[^\]]*\]|[^:/?#]*)/i, (_all, before: string) => `${before}${host}`);
}
