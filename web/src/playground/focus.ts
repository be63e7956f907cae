// Where the focus goes when what had it is gone: what was pressed makes way for what comes next.

import { tick } from 'svelte';

/** The picture with its keys; of several versions the first. */
export const PICTURE = '.stage .frame, .stage [aria-label=Versions] button';
/** The button that starts the work, or ends it. */
export const ACTION = '.actions .go';

/** Move a focus that was lost to what a selector finds, once the page is drawn anew; one that is elsewhere stays. */
export async function settle(selector: () => string): Promise<void> {
  await tick();
  if (document.activeElement !== document.body) return;
  document.querySelector<HTMLElement>(selector())?.focus({ preventScroll: true });
}
