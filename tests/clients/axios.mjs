import axios from 'axios';

const [proxy, url] = process.argv.slice(2);
const { protocol, hostname, port, username, password } = new URL(proxy);
const auth = { username: decodeURIComponent(username), password: decodeURIComponent(password) };
const settings = { protocol, host: hostname, port, auth };
try {
  const answer = await axios.get(url, { proxy: settings, timeout: 30000 });
  console.log(answer.status, answer.statusText);
  console.log(answer.data);
} catch (error) {
  console.error(String(error));
  console.error(error.response?.status, error.response?.statusText);
  console.error('X-Proxy-Error:', error.response?.headers['x-proxy-error']);
  console.error(error.response?.data);
  process.exitCode = 1;
}
