// Pictures that arrive by drag and drop or from the clipboard, anywhere on the page.

/** Listen until the returned function is called; `over` tells when a file hangs above the page. */
export function drops(take: (file: File) => void, over: (state: boolean) => void): () => void {
  const stop = new AbortController();
  const { signal } = stop;
  let depth = 0;
  const files = (event: DragEvent): boolean => event.dataTransfer?.types.includes('Files') ?? false;

  addEventListener('dragenter', (event) => files(event) && over(++depth > 0), { signal });
  addEventListener('dragleave', (event) => files(event) && over((depth = Math.max(0, depth - 1)) > 0), { signal });
  addEventListener('dragover', (event) => files(event) && event.preventDefault(), { signal });
  addEventListener(
    'drop',
    (event) => {
      if (!files(event)) return;
      event.preventDefault();
      depth = 0;
      over(false);
      const file = event.dataTransfer?.files[0];
      if (file) take(file);
    },
    { signal },
  );
  addEventListener(
    'paste',
    (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith('image/'));
      if (!file) return;
      event.preventDefault();
      take(file);
    },
    { signal },
  );
  return () => stop.abort();
}
