"""A project as a file: written, read and checked, and made again from it.

Of a disk, of people and of keys nothing is in it; nor is a session that still runs, nor what was said in one.
"""
