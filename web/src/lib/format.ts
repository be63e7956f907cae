// Numbers and names as people read them.

/** Return dollars: $0, $0.10, or as many places as a small price needs. */
export function dollars(value: number): string {
  if (value === 0) return '$0';
  const places = value >= 0.01 && Math.abs(value * 100 - Math.round(value * 100)) < 1e-9 ? 2 : value >= 1 ? 2 : 6;
  const text = value.toFixed(places);
  return `$${places > 2 ? text.replace(/(\.\d\d\d*?)0+$/, '$1') : text}`;
}

/** Return micro-dollars as dollars; an unknown price says so. */
export function money(micros: number | null): string {
  return micros === null ? 'known afterwards' : dollars(micros / 1e6);
}

/** Return `scale_factor` as `Scale factor`. */
export function label(name: string): string {
  const words = name.replaceAll('_', ' ');
  return words.length === 1 ? `Versions (${words})` : words.charAt(0).toUpperCase() + words.slice(1);
}

/** Return a number without needless zeros. */
export function plain(value: number, places = 2): string {
  return String(Number(value.toFixed(places)));
}

/** Return 1234567 bytes as 1.2 MB. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${Math.round(count / 1e3)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

/** Return a size's pixels in millions. */
export function megapixels(width: number, height: number): string {
  const millions = (width * height) / 1e6;
  return `${millions < 0.1 ? millions.toFixed(3) : millions < 10 ? millions.toFixed(2) : millions.toFixed(1)} MP`;
}

/** Return seconds as people say them. */
export function seconds(value: number): string {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** Return a receipt's value as text. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'object') return JSON.stringify(value);
  return String(value);
}

/** Return the width and height of `1200x800`. */
export function dimensions(text: string | undefined): { width: number; height: number } | null {
  const match = /^(\d+)x(\d+)$/.exec(text ?? '');
  return match ? { width: Number(match[1]), height: Number(match[2]) } : null;
}
