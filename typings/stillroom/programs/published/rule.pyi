from programs.published.rule import *
