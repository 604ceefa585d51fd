/* Removes a store's folder with all that is in it; what is not there is fine. */
#ifndef SL_TESTS_TREE_H
#define SL_TESTS_TREE_H
#include <ftw.h>
#include <stdio.h>

static inline int tree_remove_one(const char *at, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(at);
}
static inline void remove_tree(const char *root) { nftw(root, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS); }
#endif
