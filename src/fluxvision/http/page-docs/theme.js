/* Light or dark: the system's choice until somebody makes another one, here or on the other pages of this server. */
(() => {
  const KEY = 'fluxvision.theme';
  const root = document.documentElement;
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // this browser keeps nothing
    }
  };
  let chosen = stored();
  const dark = () => (chosen === 'light' || chosen === 'dark' ? chosen === 'dark' : system.matches);
  const apply = () => {
    if (chosen === 'light' || chosen === 'dark') root.dataset.theme = chosen;
    root.classList.toggle('dark-mode', dark());
    document.querySelector('.theme')?.setAttribute('aria-label', `Use the ${dark() ? 'light' : 'dark'} theme`);
  };
  system.addEventListener('change', apply);
  apply();
  document.addEventListener('DOMContentLoaded', () => {
    const button = document.querySelector('.theme');
    button.hidden = false;
    button.addEventListener('click', () => {
      chosen = dark() ? 'light' : 'dark';
      try {
        localStorage.setItem(KEY, chosen);
      } catch {
        // The choice holds until the page is left.
      }
      apply();
    });
    apply();
  });
})();
