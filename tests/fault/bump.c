/* bump STORE: makes a store claim that a later sidelog wrote it, many format versions ahead. */
#include <lmdb.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int check(int rc, const char *what)
{
	if (rc != 0)
		fprintf(stderr, "bump: %s: %s\n", what, mdb_strerror(rc));
	return rc;
}

int main(int argc, char **argv)
{
	char path[4096];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi meta;
	char name[] = "format";
	MDB_val key = {6, name}, value;
	if (argc != 2)
		return 2;
	snprintf(path, sizeof path, "%s/log", argv[1]);
	if (check(mdb_env_create(&env), "create") || check(mdb_env_set_maxdbs(env, 64), "maxdbs") ||
	    check(mdb_env_open(env, path, 0, 0600), path) || check(mdb_txn_begin(env, NULL, 0, &txn), "begin") ||
	    check(mdb_dbi_open(txn, "meta", 0, &meta), "table meta") || check(mdb_get(txn, meta, &key, &value), "key format"))
		return 1;
	uint8_t format[16];
	if (value.mv_size > sizeof format)
		return 1;
	memcpy(format, value.mv_data, value.mv_size);
	format[0] += 100; /* little-endian */
	MDB_val next = {value.mv_size, format};
	int rc = check(mdb_put(txn, meta, &key, &next, 0), "put") || check(mdb_txn_commit(txn), "commit");
	mdb_env_close(env);
	return rc;
}
