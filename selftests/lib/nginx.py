# SPDX-License-Identifier: Apache-2.0
"""nginx with a configuration and folders of its own; nothing of /etc or /var is touched."""
import os
import pathlib

from . import ports
from .wait import until

CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  client_max_body_size 0;
  keepalive_requests 100000;
  gzip on; gzip_proxied any; gzip_types text/plain; gzip_min_length 1000;
  server {{
    {listen}
    root {folder}/www;
    location /put/ {{ dav_methods PUT; create_full_put_path on; }}
    location /sum {{ proxy_pass {upstream}; proxy_http_version 1.1; }}
    location /ws {{ proxy_pass {websocket}; proxy_http_version 1.1; proxy_read_timeout 1h;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}
    location /stuck {{ proxy_pass {stuck}; proxy_http_version 1.1; proxy_request_buffering off; }}
    location = /hello {{ add_header X-Origin nginx; return 200 "hello from nginx\\n"; }}
  }}
}}
"""


class Nginx:
    """Serves FOLDER/www; takes PUT below /put/; hands /sum to `upstream`, upgrades of /ws to
    `websocket` and streams bodies of /stuck to `stuck` (URLs)."""

    def __init__(self, processes, folder, upstream="http://127.0.0.1:9", port=None,
                 netns=None, websocket="http://127.0.0.1:9", stuck="http://127.0.0.1:9"):
        self.folder = pathlib.Path(folder)
        self.www = self.folder / "www"
        (self.www / "put").mkdir(parents=True)
        # The worker may drop to nobody: every folder on the way has to let it pass.
        for path in (self.www, self.www / "put", self.folder):
            os.chmod(path, 0o777)
        self.port = port or ports.free()
        listen = f"listen 127.0.0.1:{self.port}; listen [::1]:{self.port};"
        config = self.folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=self.folder, listen=listen, upstream=upstream,
                                        websocket=websocket, stuck=stuck))
        self.process = processes.start("nginx", ["nginx", "-e", "stderr", "-p", self.folder,
                                                 "-c", config], netns=netns)
        until(lambda: (self.folder / "pid").exists() and (self.folder / "pid").read_text(), 10,
              "nginx")

    @property
    def service(self):
        return f"http://127.0.0.1:{self.port}"

    def put(self, name, data):
        path = self.www / name
        path.write_bytes(data)
        path.chmod(0o644)
