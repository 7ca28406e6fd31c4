import { readFile } from 'node:fs/promises';

const LEFT = 'What is left rented';

/** What docs/errors says of a failure type, in short: its first sentence, what is left rented, and where more is said. */
export async function errorPage(type: string): Promise<string | null> {
  if (!/^[A-Za-z]+$/.test(type)) return null;
  const page = await readFile(new URL(`../docs/errors/${type}.md`, import.meta.url), 'utf8').catch(() => null);
  if (page === null) return null;
  const [head = '', ...parts] = page.split(/^## /m);
  const lead = plain(head.replace(/^# .*\n/, ''));
  const left = parts.find((part) => part.startsWith(`${LEFT}\n`));
  const rented = left === undefined ? '' : ` Left rented: ${lowerFirst(plain(left.slice(LEFT.length)))}`;
  return `${lead}${rented} More: docs/errors/${type}.md`;
}

const plain = (markdown: string): string =>
  markdown
    .replace(/(?:^\|.*\n?)+/gm, sentence)
    .replace(/\[([^\]]+)\]\([^)]*\)/g, '$1')
    .replaceAll('`', '')
    .replace(/\s+/g, ' ')
    .trim();

/** A table within a paragraph: its rows without the head, `what: meaning`. */
const sentence = (table: string): string => `${table.trim().split('\n').slice(2).map(toWords).join('; ')}.\n`;

const toWords = (row: string): string => row.replace(/^\| *| *\|$/g, '').replace(/ *\| */g, ': ');

const lowerFirst = (text: string): string => text.slice(0, 1).toLowerCase() + text.slice(1);
