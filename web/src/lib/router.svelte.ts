// Real paths without reloads: links of this page are followed here, all others by the browser.

class Router {
  path = $state(location.pathname);
  query = $state(location.search);

  go(url: string): void {
    history.pushState(null, '', url);
    this.#read();
    scrollTo(0, 0);
    document.getElementById('main')?.focus({ preventScroll: true });
  }

  start(): void {
    addEventListener('popstate', () => this.#read());
    addEventListener('click', (event) => {
      const link = (event.target as Element).closest?.('a');
      const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
      if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute('download')) return;
      const url = new URL(link.href);
      if (url.origin !== location.origin || !ours(url.pathname) || (url.hash && url.pathname === location.pathname)) return;
      event.preventDefault();
      this.go(url.pathname + url.search);
    });
  }

  #read(): void {
    this.path = location.pathname;
    this.query = location.search;
  }
}

function ours(path: string): boolean {
  return path === '/' || path === '/models' || /^\/models\/[^/]+$/.test(path);
}

export const router = new Router();
