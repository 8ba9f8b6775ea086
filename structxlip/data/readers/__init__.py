"""Readers: what the sources share. Files and links, text tables, tar and Arrow files, records,
names of splits, reports, and templates of captions.

A source knows one layout. A reader knows one form of file, whatever the layout.
"""
