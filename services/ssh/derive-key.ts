import { createPrivateKey, createPublicKey, hkdfSync } from 'node:crypto';

/** A pod's key pair, computed from the master key and the pod's name: any worker gets the same, nothing is stored. */
export interface PodKey {
  /** OpenSSH private key file (`openssh-key-v1`, unencrypted). */
  privateKey: string;
  /** `ssh-ed25519 AAAA… <podName>` */
  publicKeyLine: string;
}

const ALGORITHM = 'ssh-ed25519';
/** DER of a PKCS#8 Ed25519 private key up to its 32-byte seed (RFC 8410). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

/** Deterministic: equal inputs give equal keys. Pure; throws nothing. */
export function derivePodKey(masterKey: string, podName: string): PodKey {
  const seed = derive(masterKey, `anneal/pod-key/${podName}`);
  const privateObject = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
  const publicDer = createPublicKey(privateObject).export({ format: 'der', type: 'spki' });
  const publicRaw = publicDer.subarray(publicDer.length - 32);
  const publicBlob = Buffer.concat([field(ALGORITHM), field(publicRaw)]);
  return {
    privateKey: openSshPrivateKey(seed, publicRaw, publicBlob, podName),
    publicKeyLine: `${ALGORITHM} ${publicBlob.toString('base64')} ${podName}`,
  };
}

/** The value a pod proves itself with once, 64 hex digits. Independent of the key by HKDF's info. */
export function deriveBootValue(masterKey: string, podName: string): string {
  return derive(masterKey, `anneal/boot-value/${podName}`).toString('hex');
}

function derive(masterKey: string, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', masterKey, '', info, 32));
}

/** RFC 4251 string: length, then bytes. */
function field(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

function openSshPrivateKey(seed: Buffer, publicRaw: Buffer, publicBlob: Buffer, comment: string): string {
  // Two equal check words tell a reader that decryption worked; unencrypted, any value will do.
  const check = publicRaw.subarray(0, 4);
  const secret = [
    check,
    check,
    field(ALGORITHM),
    field(publicRaw),
    field(Buffer.concat([seed, publicRaw])),
    field(comment),
  ];
  const length = secret.reduce((sum, part) => sum + part.length, 0);
  const padding = Buffer.from(Array.from({ length: (8 - (length % 8)) % 8 }, (_, index) => index + 1));
  const keyCount = Buffer.from([0, 0, 0, 1]);
  const body = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    field('none'),
    field('none'),
    field(''),
    keyCount,
    field(publicBlob),
    field(Buffer.concat([...secret, padding])),
  ]);
  const text = body.toString('base64').match(/.{1,70}/g) ?? [];
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...text, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n');
}
