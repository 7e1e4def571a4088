// Asks npm's http-signature about signatures. One JSON document on standard input, one on standard output.
//   {modules, publicKey, clockSkew, request: {method, url, httpVersion, headers}}   a signed request
//   {modules, publicKey, text, algorithm, signature}                                any signed text
// Answers {verified, keyId, algorithm, signingString}, or {refused: reason} where the parser refuses the request.
'use strict';
const { createRequire } = require('module');
const read = require('fs').readFileSync;

function parse(httpSignature, asked) {
  if (asked.request) return httpSignature.parseRequest(asked.request, { clockSkew: asked.clockSkew });
  return { params: { signature: asked.signature }, algorithm: asked.algorithm, signingString: asked.text };
}

function answer(asked) {
  const httpSignature = createRequire(asked.modules + '/')('http-signature');
  try {
    const parsed = parse(httpSignature, asked);
    return {
      verified: httpSignature.verifySignature(parsed, asked.publicKey),
      keyId: parsed.params.keyId || '',
      algorithm: parsed.algorithm,
      signingString: parsed.signingString,
    };
  } catch (error) {
    return { refused: error.name + ': ' + error.message };
  }
}

process.stdout.write(JSON.stringify(answer(JSON.parse(read(0, 'utf8')))));
