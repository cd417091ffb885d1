from programs.methods.snippets import *
