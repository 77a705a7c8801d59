import axios from 'axios';
import { HttpsProxyAgent } from 'https-proxy-agent';

const [proxy, url] = process.argv.slice(2);
const agent = new HttpsProxyAgent(proxy);
try {
  const answer = await axios.get(url, { proxy: false, httpAgent: agent, httpsAgent: agent, timeout: 30000 });
  console.log(answer.status, answer.statusText);
  console.log(answer.data);
} catch (error) {
  console.error(String(error));
  console.error(error.response?.status, error.response?.statusText);
  console.error('X-Proxy-Error:', error.response?.headers['x-proxy-error']);
  console.error(error.response?.data);
  process.exitCode = 1;
}
