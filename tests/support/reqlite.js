// Serves what reqlite, a ReQL server in memory, knows, to clients of RethinkDB's wire protocol.
//
//     node reqlite.js FOLDER-OF-REQLITE '{"USER": "PASSWORD"}' [FILE.pem]
//
// With a key and its certificate in a file it speaks TLS. Prints the port once it listens, and ends when standard input
// does. Databases, tables and the language are reqlite's. The connections are ours, to be as RethinkDB has them where
// reqlite is not: on loopback only; passwords are checked (SCRAM-SHA-256, RFC 5802); one question at a time, since a
// write has to be atomic; long answers come in parts; the keys of objects come in the order of their bytes; regular
// expressions know characters, not UTF-16 units, and the flag s; and what is said below.
"use strict";
const crypto = require("crypto");
const fs = require("fs");
const net = require("net");
const path = require("path");
const tls = require("tls");

const [folder, users, pem] = process.argv.slice(2);
const Server = require(path.join(folder, "lib/index.js"));
const Query = require(path.join(folder, "lib/query.js"));
const Table = require(path.join(folder, "lib/table.js"));
const Bluebird = require(require.resolve("bluebird", { paths: [folder] }));

const PASSWORDS = new Map(Object.entries(JSON.parse(users)));
const MAGIC = 0x34c2bdc3; // V1_0
const [START, CONTINUE, STOP, NOREPLY_WAIT] = [1, 2, 3, 4];
const [ATOM, SEQUENCE, PARTIAL, WAIT_COMPLETE, CLIENT_ERROR, RUNTIME_ERROR] = [1, 2, 3, 4, 16, 18];
const ROWS = 40; // in each part of an answer
const ROUNDS = 4096; // of PBKDF2

Error.stackTraceLimit = 0; // reqlite raises one for each value that is missing, and nobody reads where

Query.prototype.match = function (args, options, internal) {
  return Bluebird.all([this.evaluate(args[0], internal), this.evaluate(args[1], internal)]).then(([text, pattern]) => {
    const [, flags, rest] = /^(?:\(\?([ims]+)\))?([^]*)$/.exec(pattern);
    const found = new RegExp(rest, "u" + (flags || "")).exec(text);
    return found && { start: found.index, end: found.index + found[0].length, str: found[0], groups: [] };
  });
};

// reqlite forgets what it has found so far when a row has no value for the index.
const between = Table.prototype.between;
Table.prototype.between = function (left, right, options, query, internal) {
  const { fn } = this.indexes[options.index || this.options.primaryKey];
  const has = (key) => {
    query.context[fn[1][0][1][0]] = this.documents[key];
    return query.evaluate(fn, internal).then((value) => value !== null, () => false);
  };
  return Bluebird.filter(Object.keys(this.documents), has, { concurrency: 1 }).then((keys) => {
    const documents = Object.fromEntries(keys.map((key) => [key, this.documents[key]]));
    return between.call(Object.assign(Object.create(this), { documents }), left, right, options, query, internal);
  });
};

Server.prototype._createServer = function () {};
const database = new Server({ silent: true });

// ---- answers --------------------------------------------------------------------------------------

function encoded(value) {
  if (Array.isArray(value)) return `[${value.map(encoded).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const keys = Object.keys(value).sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
  return `{${keys.map((key) => `${JSON.stringify(key)}:${encoded(value[key])}`).join(",")}}`;
}

function send(socket, token, type, results) {
  const body = Buffer.from(`{"t":${type},"r":${encoded(results)},"n":[]}`);
  const head = Buffer.alloc(12);
  token.copy(head);
  head.writeUInt32LE(body.length, 8);
  if (!socket.destroyed) socket.write(Buffer.concat([head, body]));
}

class Session {
  constructor(socket) {
    this.socket = socket;
    this.waiting = new Map(); // token -> rows that were not yet asked for
  }

  part(token, rows) {
    const name = token.toString("hex");
    const more = rows.length > ROWS;
    if (more) this.waiting.set(name, rows.slice(ROWS));
    else this.waiting.delete(name);
    send(this.socket, token, more ? PARTIAL : SEQUENCE, rows.slice(0, ROWS));
  }

  async start(token, question) {
    const { t: type, r: results } = await new Query(database, question, {}, 0).run();
    const list = type === ATOM && Array.isArray(results[0]) && results[0].length > ROWS;
    if (list) this.part(token, results[0]);
    else send(this.socket, token, type === undefined ? RUNTIME_ERROR : type, results);
  }

  async ask(token, text) {
    const question = JSON.parse(text);
    const kind = question[0];
    const rows = this.waiting.get(token.toString("hex")) || [];
    if (kind === START) await this.start(token, question);
    else if (kind === CONTINUE) this.part(token, rows);
    else if (kind === STOP) this.part(token, []);
    else if (kind === NOREPLY_WAIT) send(this.socket, token, WAIT_COMPLETE, []);
    else send(this.socket, token, CLIENT_ERROR, ["unknown type of query"]);
  }
}

// ---- who may ask ----------------------------------------------------------------------------------

class Refusal extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

const hash = (data) => crypto.createHash("sha256").update(data).digest();
const hmac = (key, data) => crypto.createHmac("sha256", key).update(data).digest();

function fields(text) {
  return new Map(text.split(",").map((each) => [each[0], each.slice(2)]));
}

// Yields what to say; is given the JSON texts that the client says.
function* handshake() {
  const first = JSON.parse(yield { success: true, min_protocol_version: 0, max_protocol_version: 0 });
  const bare = first.authentication.slice(3); // without "n,,"
  const asked = fields(bare);
  const user = asked.get("n").replace(/=2C/g, ",").replace(/=3D/g, "=");
  if (!PASSWORDS.has(user)) throw new Refusal("Unknown user", 17);
  const salt = crypto.randomBytes(16);
  const nonce = asked.get("r") + crypto.randomBytes(18).toString("base64");
  const challenge = `r=${nonce},s=${salt.toString("base64")},i=${ROUNDS}`;
  const last = fields(JSON.parse(yield { success: true, authentication: challenge }).authentication);
  const salted = crypto.pbkdf2Sync(PASSWORDS.get(user), salt, ROUNDS, 32, "sha256");
  const message = `${bare},${challenge},c=biws,r=${nonce}`;
  const signature = hmac(hash(hmac(salted, "Client Key")), message);
  const proof = Buffer.from(last.get("p"), "base64");
  const key = proof.map((byte, at) => byte ^ signature[at]);
  if (!hash(key).equals(hash(hmac(salted, "Client Key")))) throw new Refusal("Wrong password", 12);
  const mine = hmac(hmac(salted, "Server Key"), message).toString("base64");
  yield { success: true, authentication: `v=${mine}` };
}

// ---- connections ----------------------------------------------------------------------------------

let turn = Promise.resolve();

function serve(socket) {
  const session = new Session(socket);
  const greeting = handshake();
  let state = "magic";
  let buffer = Buffer.alloc(0);

  const take = (size, from = 0) => {
    const taken = buffer.subarray(from, from + size);
    buffer = buffer.subarray(from + size);
    return taken;
  };

  const greet = (text) => {
    const { value } = greeting.next(text);
    if (value) socket.write(`${JSON.stringify(value)}\0`);
    if (value && String(value.authentication).startsWith("v=")) state = "open";
  };

  const step = () => {
    if (state === "magic" && buffer.length >= 4) {
      if (take(4).readUInt32LE() !== MAGIC) throw new Refusal("Expected V1_0", 1);
      state = "greeting";
      greet();
      return true;
    }
    const end = state === "greeting" ? buffer.indexOf(0) : -1;
    if (end >= 0) {
      greet(take(end).toString());
      take(1);
      return true;
    }
    const size = state === "open" && buffer.length >= 12 ? buffer.readUInt32LE(8) : Infinity;
    if (buffer.length < 12 + size) return false;
    const token = Buffer.from(take(8));
    const text = take(size, 4).toString();
    turn = turn.then(() => session.ask(token, text)).catch((error) => send(socket, token, CLIENT_ERROR, [String(error)]));
    return true;
  };

  socket.setNoDelay(true);
  socket.on("error", () => {});
  socket.on("data", (data) => {
    buffer = Buffer.concat([buffer, data]);
    try {
      while (step());
    } catch (error) {
      socket.end(`${JSON.stringify({ success: false, error: error.message, error_code: error.code || 0 })}\0`);
    }
  });
}

const key = pem && fs.readFileSync(pem);
const listener = key ? tls.createServer({ key, cert: key }, serve) : net.createServer(serve);
listener.on("tlsClientError", () => {});
listener.listen(0, "127.0.0.1", () => console.log(listener.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
