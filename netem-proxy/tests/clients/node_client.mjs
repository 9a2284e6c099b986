// Drives a server with toxiproxy-node-client: node_client.mjs HOST:PORT.

import assert from "node:assert/strict";
import net from "node:net";
import { once } from "node:events";
import client from "toxiproxy-node-client";

const { Toxiproxy } = client;

/** An echo server on a free port; resolves to its address. */
async function echoServer() {
  const server = net.createServer((socket) => socket.on("error", () => {}).pipe(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { address: `127.0.0.1:${server.address().port}`, server };
}

async function connect(address) {
  const [host, port] = address.split(":");
  const socket = net.connect({ host, port: Number(port), noDelay: true });
  await once(socket, "connect");
  return socket;
}

/** Milliseconds there and back. */
async function roundTrip(socket) {
  const began = performance.now();
  socket.write("ping");
  const [data] = await once(socket, "data");
  assert.equal(data.toString(), "ping");
  return performance.now() - began;
}

async function median(count, measure) {
  const values = [];
  for (let n = 0; n < count; n++) values.push(await measure());
  return values.sort((a, b) => a - b)[Math.floor(count / 2)];
}

/** Refused with this in the message. */
async function refused(work, part) {
  await assert.rejects(work, (error) => {
    assert.match(`${error.message} ${JSON.stringify(error)}`, part);
    return true;
  });
}

const toxiproxy = new Toxiproxy(`http://${process.argv[2]}`);
assert.match(await toxiproxy.getVersion(), /2\.12\.0/);
const { address: upstream, server } = await echoServer();

const proxy = await toxiproxy.createProxy({ name: "node", listen: "localhost:0", upstream, enabled: true });
assert.match(proxy.listen, /^127\.0\.0\.1:\d+$/);
await refused(() => toxiproxy.createProxy({ name: "node", listen: "localhost:0", upstream }), /409|already exists/);
await refused(() => toxiproxy.get("missing"), /404|not found/);
await refused(() => proxy.addToxic({ name: "x", type: "missing", stream: "upstream", toxicity: 1, attributes: {} }), /400|invalid/);
assert.equal((await toxiproxy.get("node")).upstream, upstream);

const socket = await connect(proxy.listen);
const direct = await median(20, () => roundTrip(socket));
const toxic = await proxy.addToxic({
  name: "slow", type: "latency", stream: "downstream", toxicity: 1, attributes: { latency: 100, jitter: 0 },
});
const added = (await median(5, () => roundTrip(socket))) - direct;
assert.ok(added >= 90 && added <= 110, `latency of 100 ms measured as ${added.toFixed(1)} ms`);
console.log(`     latency of 100 ms measured as ${added.toFixed(1)} ms`);
const updated = await toxic.update({ attributes: { latency: 1, jitter: 0 }, toxicity: 0.5 });
assert.deepEqual(updated.toJson().attributes, { latency: 1, jitter: 0 });
assert.equal(updated.toxicity, 0.5);
assert.equal((await proxy.getToxic("slow")).type, "latency");
await toxic.remove();
await refused(() => proxy.getToxic("slow"), /404|not found/);
socket.destroy();

for (const [type, attributes] of Object.entries({
  bandwidth: { rate: 1000 },
  slow_close: { delay: 1 },
  timeout: { timeout: 1 },
  slicer: { average_size: 1, size_variation: 0, delay: 1 },
  limit_data: { bytes: 1 },
  reset_peer: { timeout: 1 },
})) {
  const one = await proxy.addToxic({ name: type, type, stream: "upstream", toxicity: 1, attributes });
  assert.deepEqual(one.attributes, attributes);
  await one.remove();
}

const off = await proxy.update({ enabled: false, listen: proxy.listen, upstream: proxy.upstream });
assert.equal(off.enabled, false);
await assert.rejects(() => connect(proxy.listen));
await toxiproxy.reset();
const all = await toxiproxy.getAll();
const on = all.node;
assert.equal(on.enabled, true);
assert.equal(on.listen, proxy.listen);

const made = await toxiproxy.populate([{ name: "more", listen: "localhost:0", upstream }]);
assert.equal(made.more.upstream, upstream);
await made.more.remove();
await on.remove();
server.close();
