#include "store/store_fs.h"

#include "db/db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/vfs.h>
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
#include <sys/param.h>
#include <sys/mount.h>
#endif

/* ----------------------------------------------------------- file system --- */

#if defined(__linux__)
/* Numbers of statfs(2), written out because <linux/magic.h> does not have them all. */
static const struct { uint32_t magic; const char *name; } unfit[] = {
  {0x6969, "NFS"}, {0x65735546, "FUSE"}, {0x01021997, "9p"}, {0x517B, "SMB"}, {0xFF534D42, "CIFS"},
  {0xFE534D42, "SMB"}, {0x564C, "NCP"}, {0x5346414F, "AFS"}, {0x6B414653, "AFS"}, {0x73757245, "Coda"},
  {0x00C36400, "Ceph"}, {0x0BD00BD0, "Lustre"}, {0x786F4256, "a VirtualBox shared folder"},
  {0x7461636F, "OCFS2"}, {0x01161970, "GFS2"},
};

static const char *unfit_name(const char *path) {
  struct statfs fs;
  if (statfs(path, &fs) != 0) return NULL;
  for (size_t i = 0; i < sizeof unfit / sizeof *unfit; i++)
    if ((uint32_t)fs.f_type == unfit[i].magic) return unfit[i].name;
  return NULL;
}
#elif defined(MNT_LOCAL)
static const char *unfit_name(const char *path) {
  struct statfs fs;
  if (statfs(path, &fs) != 0) return NULL;
  if (!(fs.f_flags & MNT_LOCAL)) return "a network file system";
  return strstr(fs.f_fstypename, "fuse") ? "FUSE" : NULL;
}
#else
static const char *unfit_name(const char *path) {
  (void)path;
  return NULL;
}
#endif

/* Cuts the last component off; false when none is left. */
static bool parent(char *path) {
  size_t len = strlen(path);
  while (len > 1 && path[len - 1] == '/') len--;
  while (len > 0 && path[len - 1] != '/') len--;
  while (len > 1 && path[len - 1] == '/') len--;
  path[len] = 0;
  return len > 0;
}

sl_status store_fs_check(const char *path) {
  char *at = strdup(path);
  if (!at) return sl_fail(SL_E_NOMEM, "out of memory");
  while (access(at, F_OK) != 0 && errno == ENOENT)
    if (!parent(at)) break;
  const char *name = unfit_name(*at ? at : ".");
  free(at);
  if (!name) return SL_OK;
  return sl_fail(SL_E_UNSUPPORTED, "%s is on %s, where shared maps and locks are not reliable: a store needs a "
                 "local file system (ext4, xfs, btrfs, zfs, APFS, tmpfs ...)", path, name);
}

/* --------------------------------------------------------------- folders --- */

static bool is_empty(const char *path) {
  DIR *dir = opendir(path);
  if (!dir) return false;
  bool empty = true;
  for (struct dirent *e; empty && (e = readdir(dir));)
    empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
  closedir(dir);
  return empty;
}

sl_status store_fs_no_log(const char *path) {
  char file[PATH_MAX];
  int len = snprintf(file, sizeof file, "%s/delivery/data.mdb", path);
  if (len >= (int)sizeof file || access(file, F_OK) != 0)
    return sl_fail(SL_E_NO_STORE, "there is no store at %s", path);
  return sl_fail(SL_E_MISMATCH, "%s: delivery/ is there, but log/ is missing or empty: restore log/ of the "
                 "same moment, or move the folder away and start a new store", path);
}

sl_status store_fs_make(const char *path, bool *made) {
  struct stat st;
  *made = false;
  if (stat(path, &st) == 0) {
    if (!S_ISDIR(st.st_mode)) return sl_fail(SL_E_IO, "%s is not a folder", path);
    *made = is_empty(path);
    return SL_OK;
  }
  if (errno != ENOENT) return sl_fail(sl_status_of_errno(errno), "%s: %s", path, strerror(errno));
  char *above = strdup(path);
  if (!above) return sl_fail(SL_E_NOMEM, "out of memory");
  sl_status status = SL_OK;
  bool ignored;
  if (parent(above) && access(above, F_OK) != 0) status = store_fs_make(above, &ignored);
  if (status == SL_OK && mkdir(path, 0777) != 0 && errno != EEXIST)
    status = sl_fail(sl_status_of_errno(errno), "%s cannot be created: %s", path, strerror(errno));
  /* An event must not be lost to a power cut because its store's name was never written down. */
  if (status == SL_OK) status = db_file_sync_dir(*above ? above : ".");
  free(above);
  if (status == SL_OK) *made = true;
  return status;
}

/* ----------------------------------------------------------------- owner --- */

static sl_status find_group(const char *text, int64_t *gid) {
  struct group entry, *found = NULL;
  size_t size = 1024;
  char *buffer = NULL;
  int rc;
  do {
    size *= 2;
    char *grown = realloc(buffer, size);
    if (!grown) {
      free(buffer);
      return sl_fail(SL_E_NOMEM, "out of memory");
    }
    buffer = grown;
    rc = getgrnam_r(text, &entry, buffer, size, &found);
  } while (rc == ERANGE && size < (1u << 22));
  char *end;
  errno = 0;
  unsigned long number = strtoul(text, &end, 10);
  bool is_number = text[0] >= '0' && text[0] <= '9' && *end == 0 && errno == 0 && number < UINT32_MAX;
  if (found) *gid = (int64_t)entry.gr_gid;
  else if (is_number) *gid = (int64_t)number;
  free(buffer);
  if (!found && !is_number) return sl_fail(SL_E_INVALID, "group '%s' does not exist", text);
  return SL_OK;
}

/* Root can do all of it; what it left as its own the store's owner could not open any more. */
static int64_t other_owner(const char *path) {
  struct stat st;
  return geteuid() == 0 && stat(path, &st) == 0 && st.st_uid != 0 ? (int64_t)st.st_uid : -1;
}

sl_status store_fs_owner_new(sl_store *store) {
  store->dir_mode = 0700;
  store->file_mode = 0600;
  store->gid = -1;
  store->uid = other_owner(store->path);
  if (!store->options.group) return SL_OK;
  store->dir_mode = 0770;
  store->file_mode = 0660;
  return find_group(store->options.group, &store->gid);
}

void store_fs_owner_old(sl_store *store) {
  char *log = store_path(store, "log");
  struct stat st;
  store->dir_mode = 0700;
  store->file_mode = 0600;
  store->gid = -1;
  store->uid = log ? other_owner(log) : -1;
  if (log && stat(log, &st) == 0 && (st.st_mode & 0070) == 0070) {
    store->dir_mode = 0770;
    store->file_mode = 0660;
    store->gid = (int64_t)st.st_gid;
  }
  free(log);
}

/* In another user's folder a name may lead, as a link, to any file of root's, which must not be given away. */
bool store_fs_is_ours(const struct stat *st) {
  return st->st_uid == geteuid() && (S_ISDIR(st->st_mode) || (S_ISREG(st->st_mode) && st->st_nlink == 1));
}

static sl_status give(const sl_store *store, const char *path) {
  struct stat st;
  if (lstat(path, &st) != 0 || !store_fs_is_ours(&st)) return SL_OK;
  /* Best effort: the root of a user namespace cannot name every owner. */
  if (store->uid >= 0 && lchown(path, (uid_t)store->uid, (gid_t)-1) != 0) errno = 0;
  if (store->gid < 0 || (int64_t)st.st_gid == store->gid || lchown(path, (uid_t)-1, (gid_t)store->gid) == 0)
    return SL_OK;
  return sl_fail(sl_status_of_errno(errno), "%s cannot be given to group %" PRId64 ": %s (are you in it?)",
                 path, store->gid, strerror(errno));
}

sl_status store_fs_own_root(const sl_store *store) {
  sl_status status = give(store, store->root);
  if (status != SL_OK) return status;
  /* The set-group-id bit hands the group on to everything that is ever made in here. */
  mode_t mode = store->dir_mode | (store->gid >= 0 ? S_ISGID : 0);
  if (chmod(store->root, mode) == 0) return SL_OK;
  return sl_fail(sl_status_of_errno(errno), "%s cannot be closed to others: %s; it should belong to you",
                 store->root, strerror(errno));
}

sl_status store_fs_own_files(const sl_store *store) {
  static const char *const names[] = {
    "log", "log/data.mdb", "log/lock.mdb", "index", "index/data.mdb", "index/lock.mdb",
    "delivery", "delivery/data.mdb", "delivery/lock.mdb", "readers", "readers/data.mdb", "readers/lock.mdb",
  };
  sl_status status = SL_OK;
  const bool any = store->gid >= 0 || store->uid >= 0;
  for (size_t i = 0; any && status == SL_OK && i < sizeof names / sizeof *names; i++) {
    char *path = store_path(store, names[i]);
    status = path ? give(store, path) : sl_fail(SL_E_NOMEM, "out of memory");
    free(path);
  }
  return status;
}

int store_fs_open_file(const sl_store *store, const char *path, int flags) {
  const int fd = open(path, flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, (mode_t)store->file_mode);
  if (fd < 0) return -1;
  struct stat st;
  if (fstat(fd, &st) == 0 && store_fs_is_ours(&st)) { /* the umask may have cut the mode */
    if ((st.st_mode & 0777) != store->file_mode && fchmod(fd, (mode_t)store->file_mode) != 0) errno = 0;
    if (store->gid >= 0 && st.st_gid != (gid_t)store->gid && fchown(fd, (uid_t)-1, (gid_t)store->gid) != 0)
      errno = 0;
    if (store->uid >= 0 && fchown(fd, (uid_t)store->uid, (gid_t)-1) != 0) errno = 0;
  }
  return fd;
}
