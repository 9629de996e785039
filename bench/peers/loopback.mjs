// Portkey's server has no option for its address; without one it would listen on every interface.
import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, host, ...rest) {
  return listen.call(this, port, typeof host === "string" ? host : "127.0.0.1", ...rest);
};
