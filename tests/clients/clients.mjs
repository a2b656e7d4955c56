// The official clients of Node against a gateway: `node clients.mjs BASE KEY MODEL COLD VECTORS HOME`, of which
// the last is not looked at, or with `CUT SLOW CLIENT` behind it one of them at hosts that are slow and break.
// Prints one JSON object per play: its name, and what went wrong where something did.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";

const [base, key, model, cold, vectors, , cut, slow, client] = process.argv.slice(2);
const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
const lantern = createOpenAICompatible({ name: "lantern", baseURL: `${base}/v1`, apiKey: key, includeUsage: true, supportsStructuredOutputs: true });
const say = (content) => [{ role: "user", content }];
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const CALL = '[[call weather {"city": "Ulm"}]]';

const plays = {
  async openaiChat() {
    const whole = await openai.chat.completions.create({ model, messages: say("[[say Grüße, 🏮]]") });
    assert.equal(whole.choices[0].message.content, "Grüße, 🏮");
    assert.equal(whole.model, model);
    assert.ok(whole._request_id);
  },
  async openaiStream() {
    const stream = await openai.chat.completions.create({
      model, messages: say("[[say Grüße, 🏮]]"), stream: true, stream_options: { include_usage: true },
    });
    let text = "", usage = null, ids = new Set();
    for await (const chunk of stream) {
      ids.add(chunk.id);
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, "Grüße, 🏮");
    assert.equal(ids.size, 1);
    assert.ok(usage.completion_tokens > 0);
  },
  async openaiCold() {
    const stream = openai.chat.completions.stream({ model: cold, messages: say("[[say warm now]]") });
    assert.equal(await stream.finalContent(), "warm now");
  },
  async openaiTools() {
    const tools = [{ type: "function", function: { name: "weather", parameters: schema } }];
    const runner = openai.chat.completions.stream({ model, messages: say(CALL), tools });
    const [call] = (await runner.finalMessage()).tool_calls;
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Ulm" });
  },
  async openaiSchema() {
    const response_format = { type: "json_schema", json_schema: { name: "trip", schema } };
    const whole = await openai.chat.completions.create({ model, messages: say("hi"), response_format });
    assert.ok(JSON.parse(whole.choices[0].message.content).city);
  },
  async openaiEmbeddings() {
    const made = await openai.embeddings.create({ model: vectors, input: ["a", "b"] });
    assert.equal(made.data[1].embedding.length, 64);
    assert.notDeepEqual(made.data[0].embedding, made.data[1].embedding);
  },
  async openaiResponses() {
    const first = await openai.responses.create({ model, input: "[[say one]]" });
    assert.equal(first.output_text, "one");
    const stream = openai.responses.stream({ model, input: "[[say two]]", previous_response_id: first.id });
    assert.equal((await stream.finalResponse()).output_text, "two");
  },
  async openaiErrors() {
    for (const stream of [false, true]) {
      await assert.rejects(openai.chat.completions.create({ model: "sim/none", messages: say("hi"), stream }), (e) =>
        e.status === 404 && e.code === "model_not_found" && e.param === "model" && Boolean(e.requestID));
    }
    await assert.rejects(openai.chat.completions.create({ model, messages: say("hi"), temperature: 9 }), (e) => e.status === 400);
    const wrong = new OpenAI({ baseURL: `${base}/v1`, apiKey: "lantern_none", maxRetries: 0 });
    await assert.rejects(wrong.models.list(), (e) => e.status === 401 && e.code === "invalid_api_key");
  },
  async openaiAbort() {
    const stop = new AbortController();
    const stream = await openai.chat.completions.create({ model, messages: say("[[tokens 5000]]"), stream: true }, { signal: stop.signal });
    let chunks = 0;
    for await (const _ of stream) if (++chunks === 3) stop.abort();
    assert.ok(chunks < 5000);
  },
  async openaiModels() {
    const ids = [];
    for await (const one of openai.models.list()) ids.push(one.id);
    assert.ok(ids.includes(model) && ids.includes(vectors));
    assert.equal((await openai.models.retrieve(model)).id, model);
  },
  async aiText() {
    const { text, usage, finishReason } = await generateText({ model: lantern(model), prompt: "[[say hello there]]", maxRetries: 0 });
    assert.equal(text, "hello there");
    assert.equal(finishReason, "stop");
    assert.ok(usage.outputTokens > 0);
  },
  async aiStream() {
    const { fullStream } = streamText({ model: lantern(cold), prompt: "[[think 3]] [[say cold or not]]", maxRetries: 0 });
    let text = "", thought = "";
    for await (const part of fullStream) {
      assert.notEqual(part.type, "error", String(part.error));
      if (part.type === "text-delta") text += part.text;
      if (part.type === "reasoning-delta") thought += part.text;
    }
    assert.equal(text, "cold or not");
    assert.ok(thought);
  },
  async aiTools() {
    const weather = tool({ inputSchema: jsonSchema(schema), execute: async ({ city }) => `dry in ${city}` });
    const { steps } = await generateText({ model: lantern(model), prompt: CALL, tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 });
    assert.equal(steps.length, 2);
    assert.equal(steps[0].toolResults[0].output, "dry in Ulm");
  },
  async aiObject() {
    const { object } = await generateObject({ model: lantern(model), schema: jsonSchema(schema), prompt: "hi", maxRetries: 0 });
    assert.ok(object.city);
  },
  async aiEmbeddings() {
    const { embeddings } = await embedMany({ model: lantern.textEmbeddingModel(vectors), values: ["a", "b"], maxRetries: 0 });
    assert.equal(embeddings[0].length, 64);
  },
  async aiErrors() {
    await assert.rejects(generateText({ model: lantern("sim/none"), prompt: "hi", maxRetries: 0 }), (e) => e.statusCode === 404);
  },
};

const WORDS = {
  async *openai(model, content, signal) {
    const stream = await openai.chat.completions.create({ model, messages: say(content), stream: true }, { signal });
    for await (const chunk of stream) yield chunk.choices[0].delta.content ?? "";
  },
  async *ai(name, prompt, abortSignal) {
    const { fullStream } = streamText({ model: lantern(name), prompt, abortSignal, maxRetries: 0, onError() {} });
    for await (const part of fullStream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") yield part.text;
    }
  },
};
const broken = {
  async coldAlone() {
    let text = "";
    for await (const words of WORDS[client](cold, "[[say warm now]]")) text += words;
    assert.equal(text, "warm now");
  },
  async cut() {
    let heard = "";
    await assert.rejects(async () => {
      for await (const words of WORDS[client](cut, "[[tokens 9]]")) heard += words;
    });
    assert.ok(heard);
  },
  async stopped() {
    const stop = new AbortController();
    for await (const words of WORDS[client](slow, "[[tokens 9]]", stop.signal)) if (words) stop.abort();
    // Alive until its host was seen to stop: the end of this process would stop it as well.
    for await (const _ of process.stdin);
  },
};

for (const [name, play] of Object.entries(client ? broken : plays)) {
  let error = null;
  try {
    await play();
  } catch (thrown) {
    error = String(thrown?.stack ?? thrown);
  }
  console.log(JSON.stringify({ name, error }));
}
