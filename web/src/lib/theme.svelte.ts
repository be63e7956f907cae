// Light or dark: the system's choice until somebody makes another one, which this browser remembers.

export type Theme = 'auto' | 'light' | 'dark';

const KEY = 'fluxvision.theme';

function stored(): Theme {
  try {
    const found = localStorage.getItem(KEY);
    return found === 'light' || found === 'dark' ? found : 'auto';
  } catch {
    return 'auto';
  }
}

class Themes {
  chosen = $state<Theme>(stored());
  #system = matchMedia('(prefers-color-scheme: dark)');

  get dark(): boolean {
    return this.chosen === 'auto' ? this.#system.matches : this.chosen === 'dark';
  }

  toggle(): void {
    this.chosen = this.dark ? 'light' : 'dark';
    try {
      localStorage.setItem(KEY, this.chosen);
    } catch {
      // A browser that keeps nothing shows the choice until it is closed.
    }
    this.apply();
  }

  apply(): void {
    if (this.chosen === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = this.chosen;
  }
}

export const theme = new Themes();
