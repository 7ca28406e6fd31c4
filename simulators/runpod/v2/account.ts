import { z } from 'zod';
import type { V2Route, V2World } from './router.ts';

const keysBody = z.strictObject({
  keys: z.array(z.string().regex(/^(?:ssh|ecdsa|sk)-\S+ \S+/, 'must be an OpenSSH public key')),
});

/** `/v2/account/ssh-keys`: the account's `pubKey`, one key a line, as a list. */
export function addAccount(route: V2Route, { context }: V2World): void {
  const { store } = context;
  const view = () => ({ body: { keys: store.data.pubKey.split('\n').filter((line) => line.trim() !== '') } });
  route('get', '/account/ssh-keys', 'v2.account.sshKeys', view);
  route('put', '/account/ssh-keys', 'v2.account.setSshKeys', (request) => {
    store.data.pubKey = request.read(keysBody).keys.join('\n');
    store.save();
    return view();
  });
}
