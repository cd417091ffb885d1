from engines.files.cards import *
