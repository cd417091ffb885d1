from programs.published.card import *
