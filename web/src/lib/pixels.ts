// Pictures in the browser: their size, small versions, other formats.

export interface Dimensions {
  width: number;
  height: number;
}

/** Return an upright picture's size, null where this browser cannot show the format. */
export async function measure(url: string): Promise<Dimensions | null> {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    return null;
  }
  return { width: image.naturalWidth, height: image.naturalHeight };
}

/** Return a small JPEG of a picture, null where this browser cannot show it. */
export async function thumbnail(url: string, longest = 320): Promise<Blob | null> {
  const size = await measure(url);
  if (!size) return null;
  const scale = Math.min(1, longest / Math.max(size.width, size.height));
  return drawn(url, Math.max(1, size.width * scale), Math.max(1, size.height * scale), 'image/jpeg', 0.8);
}

/** Return the formats that this browser can write by itself. */
export const WRITABLE: Record<string, string> = { png: 'image/png', jpeg: 'image/jpeg', webp: 'image/webp' };

/** Encode a picture anew in this browser: 8 bits, without metadata. */
export async function encoded(url: string, format: string): Promise<Blob | null> {
  const size = await measure(url);
  const type = WRITABLE[format];
  if (!size || !type) return null;
  const blob = await drawn(url, size.width, size.height, type, 0.95);
  return blob?.type === type ? blob : null;
}

async function drawn(url: string, width: number, height: number, type: string, quality: number): Promise<Blob | null> {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(width);
  canvas.height = Math.round(height);
  const context = canvas.getContext('2d');
  if (!context) return null;
  if (type === 'image/jpeg') {
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.imageSmoothingQuality = 'high';
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, type, quality));
}

/** Let the browser save a file. */
export function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
