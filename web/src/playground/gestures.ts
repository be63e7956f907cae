// Mouse, touch and wheel as what they mean: move, slide, zoom around a point.

export interface Meaning {
  /** What a drag that starts on this element does. */
  mode(target: Element): 'pan' | 'slide' | 'none';
  pan(dx: number, dy: number): void;
  slide(x: number): void;
  zoom(factor: number, at: { x: number; y: number }): void;
}

interface Point {
  x: number;
  y: number;
}

/** Listen on an element until the returned function is called. */
export function gestures(element: HTMLElement, meaning: Meaning): () => void {
  const stop = new AbortController();
  const { signal } = stop;
  const fingers = new Map<number, Point>();
  let mode: 'pan' | 'slide' | 'none' = 'none';

  const at = (event: MouseEvent): Point => {
    const frame = element.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  };

  const down = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    if (fingers.size === 0) mode = meaning.mode(event.target as Element);
    if (mode === 'none') return;
    fingers.set(event.pointerId, at(event));
    element.setPointerCapture(event.pointerId);
    if (mode === 'slide' && event.pointerType === 'mouse') meaning.slide(at(event).x);
  };
  const move = (event: PointerEvent): void => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    fingers.set(event.pointerId, now);
    const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const grown = distance(now, other) / (distance(before, other) || 1);
      meaning.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
      meaning.zoom(grown, { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
    } else if (mode === 'slide') meaning.slide(now.x);
    else meaning.pan(now.x - before.x, now.y - before.y);
  };
  const up = (event: PointerEvent): void => void fingers.delete(event.pointerId);

  element.addEventListener('pointerdown', down, { signal });
  element.addEventListener('pointermove', move, { signal });
  element.addEventListener('pointerup', up, { signal });
  element.addEventListener('pointercancel', up, { signal });
  element.addEventListener(
    'wheel',
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : 1;
      meaning.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0018)), at(event));
    },
    { signal, passive: false },
  );
  return () => stop.abort();
}

function distance(one: Point, other: Point): number {
  return Math.hypot(one.x - other.x, one.y - other.y);
}
