import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { repositoryRoot } from '../../local/paths.ts';

/** Docker is not at hand where tests run: structure and references of the compose file and the image are checked. */
interface Service {
  image?: string;
  build?: string;
  restart?: string;
  entrypoint?: string[];
  environment?: Record<string, string | number>;
  secrets?: string[];
  volumes?: string[];
  ports?: string[];
  depends_on?: Record<string, { condition: string }>;
  healthcheck?: { test: string[] };
  stop_grace_period?: string;
  mem_limit?: string;
}
interface Compose {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
  secrets: Record<string, { file: string }>;
}

const root = repositoryRoot();
const read = (...path: string[]): string => readFileSync(join(root, ...path), 'utf8');

let compose: Compose;
let services: [string, Service][];
let worker: Service;

beforeAll(() => {
  compose = parse(read('docker-compose.yml'), { merge: true }) as Compose;
  services = Object.entries(compose.services);
  worker = compose.services['worker']!;
});

test('a service waits only for services there are, in a way they can fulfil', () => {
  for (const [name, { depends_on = {} }] of services) {
    for (const [other, { condition }] of Object.entries(depends_on)) {
      const awaited = compose.services[other];
      const where = `${name} waits for ${other}`;
      expect([where, awaited !== undefined]).toEqual([where, true]);
      if (condition === 'service_healthy') expect([where, awaited!.healthcheck !== undefined]).toEqual([where, true]);
      else
        expect([where, condition, awaited!.restart]).toEqual([where, 'service_completed_successfully', 'on-failure:5']);
    }
  }
  expect(Object.keys(worker.depends_on!)).toEqual(['postgresql', 'temporal', 'temporal-namespace']);
});

test('every image is pinned to a version that is new enough', () => {
  for (const [name, { image }] of services)
    expect([name, image]).toEqual([name, expect.stringMatching(/^[\w./-]+:\d+\.\d+/)]);
  const version = (service: string): number[] =>
    compose.services[service]!.image!.split(':')[1]!
      .split('.')
      .map((part) => Number.parseInt(part, 10));
  expect(version('temporal')[1]).toBeGreaterThanOrEqual(29);
  expect(compose.services['temporal-schema']!.image!.split(':')[1]).toBe(
    compose.services['temporal']!.image!.split(':')[1],
  );
  expect(version('temporal-ui')[0]).toBe(2);
  expect(version('temporal-ui')[1]).toBeGreaterThanOrEqual(47);
  const { version: own } = JSON.parse(read('package.json')) as { version: string };
  expect(worker.image).toBe(`anneal-worker:${own}`);
});

test('published ports are loopback only, and PostgreSQL publishes none', () => {
  for (const [name, { ports = [] }] of services) {
    for (const port of ports) expect([name, port]).toEqual([name, expect.stringMatching(/^127\.0\.0\.1:\d+:\d+$/)]);
  }
  expect(compose.services['postgresql']!.ports).toBeUndefined();
});

test('every service restarts, or is a job that ends', () => {
  for (const [name, { restart }] of services)
    expect([name, restart]).toEqual([name, expect.stringMatching(/^(unless-stopped|on-failure:5)$/)]);
});

test('secrets are files beside the checkout that git ignores, and each is used', () => {
  const used = new Set(services.flatMap(([, { secrets = [] }]) => secrets));
  expect([...used].sort()).toEqual(Object.keys(compose.secrets).sort());
  for (const [name, { file }] of Object.entries(compose.secrets)) expect(file).toBe(`./secrets/${name}.txt`);
  expect(read('.gitignore').split('\n')).toContain('secrets/');
  expect(read('.dockerignore')).not.toContain('!secrets');
  const documented = read('docs', 'production.md');
  for (const name of used) expect([name, documented.includes(`${name}.txt`)]).toEqual([name, true]);
});

test('each secret of the worker reaches it by a variable that the configuration reads', () => {
  const secretNames = /const SECRETS = \[(.*?)\]/s.exec(read('app', 'config.ts'))![1]!.match(/\w+/g)!;
  const files = Object.entries(worker.environment!).filter(([name]) => name.endsWith('_FILE'));
  expect(files.map(([name]) => name.slice(0, -'_FILE'.length)).sort()).toEqual([...secretNames].sort());
  expect(files.map(([, path]) => path).sort()).toEqual(worker.secrets!.map((name) => `/run/secrets/${name}`).sort());
});

test('every variable of the worker is read by someone', () => {
  const config = read('app', 'config.ts');
  const known = ['TEMPORAL_ADDRESS', 'TEMPORAL_NAMESPACE', 'NODE_OPTIONS'];
  for (const name of Object.keys(worker.environment!)) {
    const isRead = known.includes(name) || new RegExp(`^ {2}${name.replace(/_FILE$/, '')}:`, 'm').test(config);
    expect([name, isRead]).toEqual([name, true]);
  }
});

test('the worker speaks the RunPod API that the installation chose, by the name its configuration has for it', () => {
  expect(worker.environment!['RUNPOD_API']).toBe('${RUNPOD_API:-graphql}');
});

test('no value of a variable is a secret', () => {
  for (const [service, { environment = {} }] of services) {
    for (const [name, value] of Object.entries(environment)) {
      if (!/PASSWORD|PWD|TOKEN|KEY$|KEY_FILE|DATABASE_URL/.test(name)) continue;
      expect([service, name, value]).toEqual([service, name, expect.stringMatching(/^\/run\/secrets\/\w+$/)]);
    }
  }
});

test('the worker may end by itself before it is killed, and its heap fits its memory', () => {
  const force = Number(/shutdownForceTime: '(\d+)s'/.exec(read('workers', 'create-workers.ts'))![1]);
  expect(Number(/^(\d+)s$/.exec(worker.stop_grace_period!)![1])).toBeGreaterThan(force);
  const heapMb = Number(/^--max-old-space-size=(\d+)$/.exec(String(worker.environment!['NODE_OPTIONS']))![1]);
  const limitMb = Number(/^(\d+)g$/.exec(worker.mem_limit!)![1]) * 1024;
  expect(heapMb / limitMb).toBeGreaterThanOrEqual(0.5);
  expect(heapMb / limitMb).toBeLessThanOrEqual(0.8);
});

test('files and volumes that services mount are there', () => {
  for (const [, { volumes = [] }] of services) {
    for (const source of volumes.map((volume) => volume.split(':')[0]!)) {
      const there = source.startsWith('.') ? existsSync(join(root, source)) : source in compose.volumes;
      expect([source, there]).toEqual([source, true]);
    }
  }
  const scripts = services.flatMap(([, service]) => [
    ...(service.entrypoint ?? []),
    ...Object.values(service.environment ?? {}).map(String),
  ]);
  const mounted = scripts.filter((text) => text.startsWith('/deploy/'));
  expect(mounted).toHaveLength(4);
  for (const path of mounted) expect([path, existsSync(join(root, path))]).toEqual([path, true]);
});

test('shards are set, and worker, namespace job and Web UI mean one namespace', () => {
  expect(compose.services['temporal']!.environment!['NUM_HISTORY_SHARDS']).toBe(128);
  const namespace = worker.environment!['TEMPORAL_NAMESPACE'];
  expect(compose.services['temporal-namespace']!.environment!['TEMPORAL_NAMESPACE']).toBe(namespace);
  expect(compose.services['temporal-ui']!.environment!['TEMPORAL_DEFAULT_NAMESPACE']).toBe(namespace);
});

test('search attributes have one list: neither compose nor its scripts repeat it', () => {
  const text = ['docker-compose.yml', 'deploy/temporal-namespace.sh'].map((file) => read(file)).join('\n');
  expect(text).not.toMatch(/search-attribute (create|add)/);
  expect(read('workers', 'main.ts')).toContain('ensureSearchAttributes(');
});

test('the image runs as a person without rights, says how it is, and takes no secret', () => {
  const dockerfile = read('Dockerfile');
  const stages = dockerfile.split(/^FROM /m).slice(1);
  for (const stage of stages) expect(stage).toMatch(/^node:\d+\.\d+\.\d+-bookworm-slim/);
  const last = stages.at(-1)!;
  expect(last).toMatch(/^USER node$/m);
  expect(last).toMatch(/^HEALTHCHECK /m);
  expect(last).toMatch(/^STOPSIGNAL SIGTERM$/m);
  expect(last).toMatch(/^COPY jobs jobs$/m);
  expect(last).toMatch(/^CMD \["node", .*"dist\/workers\/main\.js"\]$/m);
  expect(dockerfile).not.toMatch(/^ARG |PASSWORD|TOKEN|API_KEY|_DATABASE_URL/m);
});

test('whatever the image copies is let through by .dockerignore', () => {
  const allowed = read('.dockerignore').split('\n');
  const copied = [...read('Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, sources]) =>
    sources!.split(' '),
  );
  expect(copied.length).toBeGreaterThan(10);
  for (const path of copied) {
    expect(allowed).toContain(`!${path}`);
    expect([path, existsSync(join(root, path))]).toEqual([path, true]);
  }
});
