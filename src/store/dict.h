/* The dictionary of topics and types in memory: what is known to be committed, both ways. Only grows. */
#ifndef SL_STORE_DICT_H
#define SL_STORE_DICT_H
#include "base/base.h"
#include "db/db.h"

typedef struct sl_dict sl_dict;

#define DICT_MAX 65535u /* numbers are 16 bits in a record; later names stand in the records themselves */

sl_dict *dict_new(void); /* NULL: out of memory */
void dict_free(sl_dict *dict);

/* The number of a name, 0 if the cache has none. Takes no lock. */
uint32_t dict_id(const sl_dict *dict, sl_slice name);
/* The name of a number; data NULL if the cache has none. Valid as long as the dictionary. Takes no lock. */
sl_slice dict_name(const sl_dict *dict, uint32_t id);
/* Remembers a pair that IS COMMITTED. An aborted number is given to another name by the next process, so a
 * pair remembered too early would write one topic's events under another's name. Out of memory: forgets. */
void dict_learn(sl_dict *dict, sl_slice name, uint32_t id);

/* The same, reading the tables where the cache does not know; pairs read in a read transaction are learned. */
uint32_t dict_id_in(sl_dict *dict, db_txn *txn, sl_slice name);
sl_slice dict_name_in(sl_dict *dict, db_txn *txn, uint32_t id);

/* Names met for the first time in a write transaction: learned after its commit, dropped otherwise. */
typedef struct dict_pending {
  struct dict_pair { sl_slice name; uint32_t id; } *pairs; /* names belong to the caller until the end */
  size_t count, cap;
} dict_pending;
/* The number of `name`, given out in this write transaction if need be; 0 when the dictionary is full. */
sl_status dict_assign(sl_dict *dict, db_txn *txn, dict_pending *pending, sl_slice name, uint32_t *id);
void dict_pending_learn(sl_dict *dict, const dict_pending *pending);
void dict_pending_free(dict_pending *pending);
#endif
