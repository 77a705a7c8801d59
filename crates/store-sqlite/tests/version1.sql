-- A ledger as version 1 of the schema kept it: dumped from the data folder of a gateway of that time.
PRAGMA foreign_keys = OFF;
BEGIN TRANSACTION;
CREATE TABLE audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
INSERT INTO "audit" VALUES(1,'xcm33syko5x72t4b6tf6yjwmua2z5o36',1795265668552,'quickstart','plan.create','quickstart','period month');
INSERT INTO "audit" VALUES(2,'ua34mnq7hlgbo2zo2lxysshmkh7rewnk',1795265668555,'quickstart','key.create','dxmwiem57r','plan quickstart');
INSERT INTO "audit" VALUES(3,'znaroc27oye5l4elso2wahlifl7y37r5',1795265668563,'quickstart','exit.enroll','7hog5lvm','local');
INSERT INTO "audit" VALUES(4,'m3i3j7cawshojk6mo6aagjold4yz3y2s',1795265668998,'admin','exit.enroll','mkz7fhhq','phone 7');
INSERT INTO "audit" VALUES(5,'cjwtl2rep73dljlyus5fqtrgjf6teldr',1795265669004,'admin','key.create','nuj5znknfd','plan quickstart');
CREATE TABLE deliveries (gateway TEXT PRIMARY KEY, sequence INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE exits (
    id TEXT PRIMARY KEY,
    name TEXT, pool TEXT,
    country TEXT, state_label TEXT, city TEXT, asn INTEGER, carrier TEXT,
    token BLOB NOT NULL CHECK (length(token) = 32),
    state TEXT NOT NULL, created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "exits" VALUES('7hog5lvm','local','residential',NULL,NULL,NULL,NULL,NULL,X'B4C7780FD0FA373796505F5AADB2BAB83D92FE67A4EBE99F497CBFF89AB753C9','active',1795265668563);
INSERT INTO "exits" VALUES('mkz7fhhq','phone 7','mobile','de','be','berlin',3320,'A Carrier',X'85EEE28BF2377C234D6588297587A06939B77396C194D2A4316E466804EEF082','active',1795265668998);
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    plan TEXT NOT NULL REFERENCES plans (name),
    secret BLOB NOT NULL CHECK (length(secret) = 32),
    old_secret BLOB CHECK (length(old_secret) = 32), old_until INTEGER,
    state TEXT NOT NULL, blocked_why TEXT,
    allow_ips TEXT NOT NULL, proof TEXT NOT NULL,
    expires INTEGER, created INTEGER NOT NULL, period_anchor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "keys" VALUES('dxmwiem57r','quickstart',X'B854104F95AD84B12CA30481DC43F2A40BAFDB85060381225C752B4ACF31BBBD',NULL,NULL,'active',NULL,'','secret',NULL,1795265668555,1795262400000);
INSERT INTO "keys" VALUES('nuj5znknfd','quickstart',X'6731C361ABADEC701ED4458A17B126C0C5C23CE923FAC4B3E620F0B2A4A356C0',NULL,NULL,'active',NULL,'','secret',1924992000000,1795265669004,1795262400000);
CREATE TABLE periods (
    key TEXT PRIMARY KEY, start_hour INTEGER NOT NULL, last_hour INTEGER NOT NULL, bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE plans (
    name TEXT PRIMARY KEY,
    bytes INTEGER, period TEXT NOT NULL,
    rate INTEGER, burst INTEGER, threads INTEGER, speed INTEGER,
    pools TEXT NOT NULL, ports TEXT NOT NULL, countries TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "plans" VALUES('quickstart',NULL,'month',NULL,NULL,NULL,NULL,'','','');
CREATE TABLE usage (
    key TEXT NOT NULL, hour INTEGER NOT NULL, pool TEXT NOT NULL,
    up INTEGER NOT NULL, down INTEGER NOT NULL, requests INTEGER NOT NULL, tunnels INTEGER NOT NULL,
    PRIMARY KEY (key, hour, pool)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_plan ON keys (plan);
CREATE INDEX usage_by_hour ON usage (hour);
CREATE INDEX audit_by_subject ON audit (subject, number);
COMMIT;
PRAGMA user_version = 1;
