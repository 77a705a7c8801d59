import { fetch, ProxyAgent } from 'undici';

const [proxy, url] = process.argv.slice(2);
const answer = await fetch(url, { dispatcher: new ProxyAgent(proxy) });
console.log(answer.status, answer.statusText);
console.log('X-Proxy-Error:', answer.headers.get('x-proxy-error'));
console.log(await answer.text());
