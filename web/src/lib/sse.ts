// Server-sent events from a byte stream, however it is cut: comments are kept, they carry the progress.

export type Message = { kind: 'comment'; text: string } | { kind: 'event'; name: string; data: string };

export class Parser {
  #decoder = new TextDecoder();
  #parts: string[] = [];
  #skipFeed = false;
  #name = '';
  #data: string[] = [];

  /** Take bytes and return the messages that they complete. */
  push(bytes: Uint8Array): Message[] {
    return this.#read(this.#decoder.decode(bytes, { stream: true }));
  }

  #read(text: string): Message[] {
    const found: Message[] = [];
    let start = 0;
    for (const match of text.matchAll(/\r\n|\r|\n/g)) {
      // A feed that opens a piece may belong to the return that ended the one before.
      const halved = this.#skipFeed && match.index === 0 && match[0] === '\n';
      this.#skipFeed = false;
      if (!halved) {
        this.#parts.push(text.slice(start, match.index));
        const message = this.#line(this.#parts.join(''));
        this.#parts = [];
        if (message) found.push(message);
      }
      start = match.index + match[0].length;
    }
    const rest = text.slice(start);
    if (rest) this.#parts.push(rest);
    if (text) this.#skipFeed = text.endsWith('\r');
    return found;
  }

  #line(line: string): Message | null {
    if (line === '') return this.#dispatch();
    if (line.startsWith(':')) return { kind: 'comment', text: line.slice(1).trim() };
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#name = value;
    if (field === 'data') this.#data.push(value);
    return null;
  }

  #dispatch(): Message | null {
    const name = this.#name || 'message';
    const data = this.#data;
    this.#name = '';
    this.#data = [];
    return data.length ? { kind: 'event', name, data: data.join('\n') } : null;
  }
}

/** Read a response's body message by message. */
export async function* messages(body: ReadableStream<Uint8Array>): AsyncGenerator<Message> {
  const parser = new Parser();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(value);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Return how far `progress 3/12` is, null for other comments. */
export function progress(comment: string): { done: number; total: number } | null {
  const match = /^progress (\d+)\/(\d+)$/.exec(comment);
  return match ? { done: Number(match[1]), total: Number(match[2]) } : null;
}
