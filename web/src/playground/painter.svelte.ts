// The mask that is being painted: strokes on a canvas of the picture's size, written as OpenAI's mask.

import { session } from './session.svelte';

class Painter {
  on = $state(false);
  erase = $state(false);
  /** The brush's width as a share of the picture's longer side. */
  brush = $state(0.08);
  strokes: HTMLCanvasElement | null = null;

  /** Return the canvas that has the strokes, of the picture's size. */
  canvas(width: number, height: number): HTMLCanvasElement {
    if (this.strokes?.width !== width || this.strokes.height !== height) {
      this.strokes = document.createElement('canvas');
      this.strokes.width = width;
      this.strokes.height = height;
    }
    return this.strokes;
  }

  /** Paint from one point to another; points are in pixels of the picture. */
  stroke(from: { x: number; y: number }, to: { x: number; y: number }): void {
    const context = this.strokes?.getContext('2d');
    if (!this.strokes || !context) return;
    context.globalCompositeOperation = this.erase ? 'destination-out' : 'source-over';
    context.strokeStyle = '#ff7a1a';
    context.lineWidth = this.brush * Math.max(this.strokes.width, this.strokes.height);
    context.lineCap = context.lineJoin = 'round';
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x + 0.01, to.y);
    context.stroke();
  }

  /** Make the mask: opaque, but transparent where something was painted. */
  async finish(): Promise<void> {
    const strokes = this.strokes;
    if (!strokes) return;
    const canvas = document.createElement('canvas');
    canvas.width = strokes.width;
    canvas.height = strokes.height;
    const context = canvas.getContext('2d');
    if (!context) return;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = 'destination-out';
    context.drawImage(strokes, 0, 0);
    session.mask = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  }

  clear(): void {
    this.strokes = null;
    this.on = false;
    session.mask = null;
  }
}

export const painter = new Painter();
