/* The disk of a recording (record.h) as a power cut may leave it. What was flushed is there. Of what was not, any
 * of the versions that a sector of 512 bytes, a file's size or a folder's name has had since, each for itself: so
 * writes are lost, torn and reordered. */
#ifndef SL_TESTS_REPLAY_H
#define SL_TESTS_REPLAY_H
#include "record.h"

/* Promises of the disk that are broken on purpose, to see that it is noticed. */
typedef enum replay_lie { LIE_NONE, LIE_FLUSH, LIE_SYNCED_WRITE, LIE_FOLDER, LIES } replay_lie;

typedef struct replay_disk replay_disk;

replay_disk *replay_new(replay_lie lie);
void replay_free(replay_disk *disk);

/* The next entry of the recording happens. */
void replay_step(replay_disk *disk, const record_entry *entry);
/* The same, but for the flush in it: what a cut in the middle of the entry may leave. */
void replay_half_step(replay_disk *disk, const record_entry *entry);

/* How much is not flushed. */
size_t replay_pending(const replay_disk *disk);

/* Which of it survives. From CUT_RANDOM on each number is another mixture. */
enum { CUT_NONE, CUT_ALL, CUT_ONLY_LAST, CUT_ALL_BUT_FIRST, CUT_ALL_BUT_LAST, CUT_RANDOM };

/* Writes the files of one image into the folder `dir`, which does not exist. */
bool replay_image(const replay_disk *disk, unsigned cut, uint64_t seed, const char *dir);
#endif
