import { upsertSearchAttributes } from '@temporalio/workflow';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { SEARCH_ATTRIBUTES, type SearchAttributeName } from '../../contract/names.ts';

type Values = Partial<Record<SearchAttributeName, string | number | null>>;

/** What people search runs by. What is set in one go becomes one event, what has not changed none: a history is short. */
export class SearchAttributes {
  private readonly current: Values = {};
  private unsent: Values = {};

  set(values: Values): void {
    const changed = Object.entries(values).filter(
      ([name, value]) => this.current[name as SearchAttributeName] !== value,
    );
    if (changed.length === 0) return;
    const waiting = Object.keys(this.unsent).length > 0;
    Object.assign(this.current, Object.fromEntries(changed));
    Object.assign(this.unsent, Object.fromEntries(changed));
    if (!waiting) void Promise.resolve().then(() => this.send());
  }

  private send(): void {
    const pairs = Object.entries(this.unsent).map(([name, value]) =>
      SEARCH_ATTRIBUTES[name as SearchAttributeName] === 'DOUBLE'
        ? { key: defineSearchAttributeKey(name, SearchAttributeType.DOUBLE), value: value as number | null }
        : { key: defineSearchAttributeKey(name, SearchAttributeType.KEYWORD), value: value as string | null },
    );
    this.unsent = {};
    upsertSearchAttributes(pairs);
  }
}
