// Where a picture lies in its frame. `scale` is CSS pixels per picture pixel; `x` and `y` are its upper left corner.

export interface View {
  scale: number;
  x: number;
  y: number;
}

export interface Box {
  width: number;
  height: number;
}

const FURTHEST = 16;
const KEPT = 48;
const MARGIN = 24;

/** Return the view that shows the whole picture in the middle of its frame. */
export function fit(picture: Box, frame: Box): View {
  const margin = 2 * Math.min(MARGIN, frame.width / 24);
  const scale = Math.min((frame.width - margin) / picture.width, (frame.height - margin) / picture.height);
  return centred(Math.max(scale, 1e-4), picture, frame);
}

function centred(scale: number, picture: Box, frame: Box): View {
  return { scale, x: (frame.width - picture.width * scale) / 2, y: (frame.height - picture.height * scale) / 2 };
}

/** Zoom by a factor so that the point under the pointer stays where it is. */
export function zoomed(view: View, factor: number, at: { x: number; y: number }, picture: Box, frame: Box): View {
  const least = Math.min(fit(picture, frame).scale, 1) / 2;
  const scale = Math.min(Math.max(view.scale * factor, least), Math.max(FURTHEST, fit(picture, frame).scale));
  const grown = scale / view.scale;
  return clamped({ scale, x: at.x - (at.x - view.x) * grown, y: at.y - (at.y - view.y) * grown }, picture, frame);
}

export function moved(view: View, dx: number, dy: number, picture: Box, frame: Box): View {
  return clamped({ ...view, x: view.x + dx, y: view.y + dy }, picture, frame);
}

/** Keep a part of the picture in the frame; one that is smaller than the frame stays in the middle. */
export function clamped(view: View, picture: Box, frame: Box): View {
  const along = (at: number, length: number, room: number): number =>
    length <= room ? (room - length) / 2 : Math.min(Math.max(at, Math.min(KEPT, room) - length), room - Math.min(KEPT, room));
  return {
    scale: view.scale,
    x: along(view.x, picture.width * view.scale, frame.width),
    y: along(view.y, picture.height * view.scale, frame.height),
  };
}

/** Return whether the picture reaches beyond its frame. */
export function pannable(view: View, picture: Box, frame: Box): boolean {
  return picture.width * view.scale > frame.width + 1 || picture.height * view.scale > frame.height + 1;
}

/** Return where the picture is seen from left to right: the way of the divider. */
export function visible(view: View, picture: Box, frame: Box): { left: number; right: number } {
  const left = Math.max(0, view.x);
  return { left, right: Math.max(left, Math.min(frame.width, view.x + picture.width * view.scale)) };
}
