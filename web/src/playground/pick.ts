// The browser's file chooser.

import { session } from './session.svelte';

export const TYPES = [
  'image/png,image/jpeg,image/webp,image/gif,image/avif,image/tiff,image/bmp,image/heic,image/heif,image/jxl,image/jp2',
  '.tif,.tiff,.bmp,.heic,.heif,.hif,.jxl,.jp2,.j2k,.ppm,.pgm,.pbm,.pnm,.tga',
].join(',');

/** Take the file that an input got, and let it take the same one again. */
export function picked(event: Event): void {
  const input = event.currentTarget as HTMLInputElement;
  const file = input.files?.[0];
  input.value = '';
  if (file) void session.choose(file, file.name);
}
