// Calls the MCP server behind an address, or the one that a command starts, with the official SDK for TypeScript.
// Prints what it got as JSON.
import { readFileSync } from "node:fs";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [photo, key, target, ...args] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const transport = target.startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(target), { requestInit: { headers } })
  : new StdioClientTransport({ command: target, args, env: process.env });
const client = new Client({ name: "test", version: "1" });
await client.connect(transport);
const progress = [];
const image = readFileSync(photo).toString("base64");
const onprogress = ({ progress: done, total }) => progress.push([done, total]);
const result = await client.callTool({ name: "upscale", arguments: { image, scale_factor: 2 } }, undefined, { onprogress });
const { uri } = result.content.find(({ type }) => type === "resource_link");
const { contents } = await client.readResource({ uri });
const refused = await client.callTool({ name: "quote", arguments: { image, scale_factor: 99 } });
const { tools } = await client.listTools();
await client.close();
console.log(JSON.stringify({ tools: tools.map(({ name }) => name), result, contents, refused, progress }));
