// The key that this tab uses: kept by the browser until the tab is closed, sent to this server alone.

const PLACE = 'fluxvision.key';
const SENDABLE = /^[\x21-\x7e]{1,512}$/;

function stored(): string {
  try {
    return sessionStorage.getItem(PLACE) ?? '';
  } catch {
    return '';
  }
}

class Key {
  value = $state(stored());

  use(value: string): void {
    this.value = value;
    try {
      if (value) sessionStorage.setItem(PLACE, value);
      else sessionStorage.removeItem(PLACE);
    } catch {
      // A browser that keeps nothing knows the key until the page is left.
    }
  }
}

/** Return whether a header can carry a text as a key. */
export function sendable(text: string): boolean {
  return SENDABLE.test(text);
}

/** Return what a request says of its sender: that it is this page, which spends nothing by itself, and the key. */
export function sender(value: string): Record<string, string> {
  return { 'X-Fluxvision-Client': 'page', ...(value ? { Authorization: `Bearer ${value}` } : {}) };
}

export const key = new Key();
