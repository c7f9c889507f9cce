"""Find what is wrong with a folder of photos: unreadable files, duplicates, wrong labels."""
