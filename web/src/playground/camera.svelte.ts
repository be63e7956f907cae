// Where the picture lies in the viewer: fitted until somebody zooms or moves it.

import { untrack } from 'svelte';
import { type Box, fit, moved, pannable, type View, visible, zoomed } from '../lib/zoom';
import { session } from './session.svelte';

const SINGLE_PIXELS = 4;

export class Camera {
  width = $state(0);
  height = $state(0);
  view = $state.raw<View>({ scale: 1, x: 0, y: 0 });
  fitted = $state(true);

  /** The pixels that the view counts in: the result's, or the source's while there is none. */
  box = $derived.by((): Box => {
    const { width, height } = session.result ?? session.picture?.size ?? { width: 0, height: 0 };
    return { width, height };
  });
  room = $derived<Box>({ width: this.width, height: this.height });
  ready = $derived(this.box.width > 0 && this.width > 0);
  free = $derived(this.ready && pannable(this.view, this.box, this.room));
  /** Where the picture is seen from left to right: the way of the divider. */
  way = $derived(visible(this.view, this.box, this.room));
  percent = $derived(Math.round(this.view.scale * density() * 100));
  coarse = $derived(this.view.scale * density() >= SINGLE_PIXELS);

  /** Keep to the window, and to the next result: the same part of the picture stays in sight. Called by a component. */
  follow(): void {
    let last = 0;
    $effect(() => {
      if (this.ready && this.fitted) this.view = fit(this.box, this.room);
    });
    $effect(() => {
      const now = this.box.width;
      untrack(() => {
        if (last && now && !this.fitted) this.view = { ...this.view, scale: (this.view.scale * last) / now };
        last = now;
      });
    });
  }

  zoom(factor: number, at = { x: this.width / 2, y: this.height / 2 }): void {
    if (!this.ready) return;
    this.fitted = false;
    this.view = zoomed(this.view, factor, at, this.box, this.room);
  }

  whole(): void {
    this.fitted = true;
    this.view = fit(this.box, this.room);
  }

  /** Show real pixels. */
  one(): void {
    this.zoom(1 / density() / this.view.scale);
  }

  pan(dx: number, dy: number): void {
    this.fitted = false;
    this.view = moved(this.view, dx, dy, this.box, this.room);
  }

  /** Move or zoom as a key says; returns whether it said anything. */
  keyed(event: KeyboardEvent): boolean {
    const far = event.shiftKey ? 200 : 48;
    const keys: Record<string, () => void> = {
      '+': () => this.zoom(1.25),
      '=': () => this.zoom(1.25),
      '-': () => this.zoom(0.8),
      '0': () => this.whole(),
      '1': () => this.one(),
      ArrowLeft: () => this.pan(far, 0),
      ArrowRight: () => this.pan(-far, 0),
      ArrowUp: () => this.pan(0, far),
      ArrowDown: () => this.pan(0, -far),
    };
    const act = keys[event.key];
    if (!act || (event.key.startsWith('Arrow') && !this.free)) return false;
    act();
    return true;
  }
}

function density(): number {
  return globalThis.devicePixelRatio || 1;
}
