BEGIN TRANSACTION;
CREATE TABLE accounts (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	password VARCHAR(256) NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	created DATETIME NOT NULL, 
	closed DATETIME, 
	most_running INTEGER, 
	most_waiting INTEGER, most_bytes BIGINT, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "accounts" VALUES(1,'ada','$argon2id$v=19$m=8,t=1,p=1$S0Y1Cc/QIpX1e3Pv/qE30g$uNLwwTeYf2g45e3Vr81CwJElMPL+myU2EMGZ8VNGBdU','user','2026-11-30 14:02:30.000000',NULL,NULL,NULL,5368709120);
INSERT INTO "accounts" VALUES(2,'bob','$argon2id$v=19$m=8,t=1,p=1$42tDROwb9yEnobbpYkBlsg$lc4zkHJW2dh+MbkrUsA269E+adn20ty3LBQ3r4I667o','user','2026-11-30 14:02:30.000000',NULL,NULL,NULL,NULL);
INSERT INTO "accounts" VALUES(3,'root','$argon2id$v=19$m=8,t=1,p=1$YY5jv6d3ojG5fXiltOdNCg$ENZ3eKK11VaEQMZyuIfpsK0O8kWj9LN90eWjHSnpURA','administrator','2026-11-30 14:02:30.000000',NULL,NULL,NULL,NULL);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	time DATETIME NOT NULL, 
	account VARCHAR(64) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	object VARCHAR(200) NOT NULL, 
	address VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES(1,'2026-11-30 14:02:30.000000','operator','account-add','ada user','');
INSERT INTO "audit" VALUES(2,'2026-11-30 14:02:30.000000','operator','account-add','bob user','');
INSERT INTO "audit" VALUES(3,'2026-11-30 14:02:30.000000','operator','account-add','root administrator','');
INSERT INTO "audit" VALUES(4,'2026-11-30 14:02:32.000000','ada','request','3d0c9a092c35331a8bc4805eeb0db0ea {"architectures":[],"force":false,"images":["cc-one"],"push":false}','127.0.0.1');
INSERT INTO "audit" VALUES(5,'2026-11-30 14:02:33.000000','ada','token-create','b844fe8ea21a read','');
INSERT INTO "audit" VALUES(6,'2026-11-30 17:54:24.000000','operator','account-limit','ada bytes=5368709120','');
INSERT INTO "audit" VALUES(7,'2026-11-30 17:54:24.000000','root','invitation-create','c2ba33a4bfeb for bob','');
INSERT INTO "audit" VALUES(8,'2026-11-30 17:54:24.000000','bob','invitation-use','c2ba33a4bfeb','');
CREATE TABLE builds (
	number INTEGER NOT NULL, 
	id VARCHAR(32) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	value TEXT NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	message TEXT NOT NULL, 
	cancelled BOOLEAN NOT NULL, 
	created DATETIME NOT NULL, 
	ended DATETIME, removed DATETIME, 
	PRIMARY KEY (number), 
	UNIQUE (id)
);
INSERT INTO "builds" VALUES(1,'3d0c9a092c35331a8bc4805eeb0db0ea','images','{"architectures":[],"force":false,"images":["cc-one"],"push":false}','ff9e4d67fd0df306a4cf568a474850c8bc3a8acc7353df75a45c20bf292c5c57','over','FINISHED','',0,'2026-11-30 14:02:32.000000','2026-11-30 14:02:33.000000',NULL);
CREATE TABLE invitations (
	id VARCHAR(16) NOT NULL, 
	label VARCHAR(100) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	maker VARCHAR(64) NOT NULL, 
	created DATETIME NOT NULL, 
	expires DATETIME NOT NULL, 
	revoked DATETIME, 
	used DATETIME, 
	account_id INTEGER, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "invitations" VALUES('c2ba33a4bfeb','for bob','461fcbcc839a0ecc058007a31596f4a2bf1c641dd4e276e66e7fecbebcc58e80','root','2026-11-30 17:54:24.000000','2026-12-07 17:54:24.000000',NULL,'2026-11-30 17:54:24.000000',2);
CREATE TABLE products (
	build INTEGER NOT NULL, 
	tag VARCHAR(128) NOT NULL, 
	arch VARCHAR(16) NOT NULL, 
	version VARCHAR(40) NOT NULL, made BOOLEAN DEFAULT 1 NOT NULL, 
	PRIMARY KEY (build, tag, arch), 
	FOREIGN KEY(build) REFERENCES builds (number)
);
INSERT INTO "products" VALUES(1,'cc-one','amd64','20261122T030000Z',1);
CREATE TABLE requesters (
	build INTEGER NOT NULL, 
	account_id INTEGER NOT NULL, 
	requested DATETIME NOT NULL, 
	withdrawn DATETIME, 
	hidden DATETIME, 
	PRIMARY KEY (build, account_id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id), 
	FOREIGN KEY(build) REFERENCES builds (number)
);
INSERT INTO "requesters" VALUES(1,1,'2026-11-30 14:02:32.000000',NULL,NULL);
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	build INTEGER NOT NULL, 
	began DATETIME NOT NULL, 
	ended DATETIME, 
	name VARCHAR(40) NOT NULL, 
	stopped DATETIME, 
	planned DATETIME, 
	expected FLOAT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(build) REFERENCES builds (number)
);
INSERT INTO "runs" VALUES(1,1,'2026-11-30 14:02:32.000000','2026-11-30 14:02:33.000000','20261122T030000Z',NULL,'2026-11-30 14:02:32.000000',60.0);
CREATE TABLE sessions (
	digest VARCHAR(64) NOT NULL, 
	account_id INTEGER NOT NULL, 
	created DATETIME NOT NULL, 
	used DATETIME NOT NULL, 
	PRIMARY KEY (digest), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE TABLE tokens (
	id VARCHAR(16) NOT NULL, 
	account_id INTEGER NOT NULL, 
	label VARCHAR(100) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	scopes VARCHAR(64) NOT NULL, 
	created DATETIME NOT NULL, 
	expires DATETIME NOT NULL, 
	revoked DATETIME, 
	used DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(account_id) REFERENCES accounts (id)
);
INSERT INTO "tokens" VALUES('b844fe8ea21a',1,'ci','7ac22435dede3fe1da236bd7f0f677f13949d3630c73e5ac7f7fa35e63c92c34','read','2026-11-30 14:02:33.000000','2027-02-28 14:02:33.000000',NULL,NULL);
CREATE INDEX ix_audit_time ON audit (time);
CREATE INDEX ix_sessions_account_id ON sessions (account_id);
CREATE INDEX ix_tokens_account_id ON tokens (account_id);
CREATE INDEX builds_by_key ON builds ("key");
CREATE INDEX builds_by_state ON builds (state, number);
CREATE INDEX ix_requesters_account_id ON requesters (account_id);
CREATE INDEX ix_runs_build ON runs (build);
COMMIT;
